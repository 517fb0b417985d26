"""The desk's API, one noun per file. All of it is JSON in the one error shape; the server's process never imports torch.

What is there (bodies and answers as in docs/desk.md):

- jobs: `POST GET /api/jobs`, `POST /api/jobs/batch`, `GET PATCH DELETE /api/jobs/{id}`, `POST /api/jobs/{id}/cancel|retry`,
  `GET /api/jobs/{id}/status|log`
- results: `GET /api/jobs/{id}/results`, `GET /api/jobs/{id}/results/{i}/tiles?rows=a-b&cols=c-d&level=0`
- models: `GET /api/models`, `GET /api/methods`, `POST /api/tokens`
- sockets: `WS /api/ws/jobs/{id}?after=seq`
- comparison: `GET /api/compare?left=JOB:i&right=JOB:j&scale=raw|share`
- figures: `GET /api/jobs/{id}/metrics`, `GET /api/jobs/{id}/categories`
- edits: `POST /api/jobs/{id}/counterfactuals`, `GET /api/jobs/{id}/sensitivity`
- timeline: `GET /api/jobs/{id}/timeline?index=0&decay=0.5`

Every result carries its own `input` (several models cut a text in different ways); the record's `input` is the first one's.
"""

from fastapi.routing import APIRouter

from clinlens.desk.routes import comparison, edits, figures, jobs, models, results, sockets, timeline

ROUTERS: tuple[APIRouter, ...] = tuple(
    router
    for module in (jobs, results, models, sockets, comparison, figures, edits, timeline)
    for router in module.ROUTERS
)
