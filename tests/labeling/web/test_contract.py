"""The API under requests that its own description makes up: no server error, for anybody."""

import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from labeling.web.routes import rounds as round_routes
from tests.labeling.web.premises import ROLES, Premises

schemathesis = pytest.importorskip("schemathesis", reason="needs the schemathesis package")
N_EXAMPLES = 3
"""For each operation and role; more would find more, and CI has twenty minutes for everything."""
REAL = 0.8
"""Share of path parameters that name something that is there."""


def operations(premises: Premises) -> list[Any]:
    schema = schemathesis.openapi.from_dict(premises.app.openapi())
    return [found.ok() for found in schema.get_all_operations()]


def test_the_description_names_every_operation_of_the_api(premises: Premises):
    paths = {f"{one.method.upper()} {one.path}" for one in operations(premises)}
    routes = {
        f"{method} {route.path}"
        for router in (round_routes.api,)
        for route in router.routes
        for method in route.methods  # type: ignore[attr-defined]
    }
    assert routes <= paths
    assert all(path.split()[1].startswith("/api/v1/") for path in paths)


@pytest.mark.parametrize("role", ROLES)
def test_no_made_up_request_is_a_server_error(premises: Premises, role: str):
    places = premises.places()
    for operation in operations(premises):

        @given(
            case=operation.as_strategy(),
            is_real=st.lists(st.booleans(), min_size=4, max_size=4),
            version=st.integers(0, 3),
        )
        @settings(
            max_examples=N_EXAMPLES, deadline=None, phases=[Phase.generate], database=None,
            suppress_health_check=list(HealthCheck), derandomize=True,
        )  # fmt: skip
        def holds(case: Any, is_real: list[bool], version: int) -> None:
            for name, real in zip(list(case.path_parameters or {}), is_real, strict=False):
                if real:
                    case.path_parameters[name] = places.get(name, case.path_parameters[name])
            sent = case.as_transport_kwargs(base_url="http://127.0.0.1:8765")
            headers = {
                **(sent.get("headers") or {}), "Idempotency-Key": str(uuid.uuid4()), "If-Match": f'"{version}"',
                "Sec-Fetch-Site": "same-origin",
            }  # fmt: skip
            sent = {
                key: value
                for key, value in sent.items()
                if key in ("method", "url", "params", "json", "data", "content")
            }
            answer = client.request(
                **sent, headers={key: value for key, value in headers.items() if key != "User-Agent"}
            )
            assert answer.status_code < 500, f"{case.method} {case.path}"
            if answer.status_code >= 400:
                assert set(answer.json()) == {"error"}, "one shape of errors"

        with premises.visitor(role) as client:
            holds()
