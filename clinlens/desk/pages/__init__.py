"""What the analyst looks at: the attribution dashboard of paper 003, and one page per concept trace."""

from clinlens.desk.pages import dashboard, traces

ROUTERS = (dashboard.pages, traces.pages)
