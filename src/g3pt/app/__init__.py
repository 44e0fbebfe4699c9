"""Jobs over HTTP: `create_app` serves models that live in worker processes (extra `app`)."""
