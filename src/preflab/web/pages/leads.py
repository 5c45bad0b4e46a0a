"""The routers of all pages for leads, in the order in which addresses are matched."""

from __future__ import annotations

from preflab.web.pages import (
    lead,
    lead_adjudicate,
    lead_audit,
    lead_export,
    lead_labelers,
    lead_new,
    lead_people,
    lead_settings,
)

ROUTERS = (
    lead.router,
    lead_new.router,
    lead_people.router,
    lead_audit.router,
    lead_labelers.router,
    lead_adjudicate.overview,
    lead_adjudicate.router,
    lead_export.router,
    lead_settings.router,
)
