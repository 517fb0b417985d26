"""Who may look at the desk."""

from typing import Annotated

from fastapi import Depends

from labeling.web.access import Allow
from labeling.web.visit import Visit

Analyst = Annotated[Visit | None, Depends(Allow("desk"))]
