"""The web app: pages and API parse requests, call `labelling/` and render the result. No labelling logic lives here."""
