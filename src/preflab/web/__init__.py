"""All HTTP and nothing else: pages and API parse, call `labelling/`, and render. No logic lives here."""
