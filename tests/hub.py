"""A stand-in for the Hugging Face hub on this machine: what its own client asks when it uploads.

Small files come inside the commit, large ones by the protocol of Git LFS before it, as there.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_a_token_that_may_write"


class Hub:
    """What was put there."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.messages: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = ""


def handler_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def answer(self, code: int, body: object, **headers: str) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(code)
            kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def do_POST(self) -> None:
            path, body = urlsplit(self.path).path, self.body()
            hub.asked.append(f"POST {path}")
            if path == "/api/validate-yaml":
                return self.answer(200, {"errors": [], "warnings": []})
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.answer(401, {"error": "Invalid username or password."})
            if path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                is_new = name not in hub.repositories
                hub.repositories.setdefault(name, {})
                hub.private.setdefault(name, asked.get("visibility") == "private")
                url = f"{hub.url}/{name}"
                return self.answer(200 if is_new else 409, {"url": url, "error": "exists"})
            name = "/".join(path.removeprefix("/api/models/").removesuffix(".git").split("/")[:2])
            if path.endswith(".git/info/lfs/objects/batch"):
                return self.answer(200, {"transfer": "basic", "objects": self._lfs(body)})
            if name not in hub.repositories:
                return self.answer(404, {"error": "Repository not found"})
            if "/preupload/" in path:
                files = [
                    {
                        "path": one["path"],
                        "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for one in json.loads(body)["files"]
                ]
                return self.answer(200, {"files": files})
            if "/commit/" in path:
                return self._commit(name, body)
            return self.answer(404, {"error": f"no such address: {path}"})

        def _lfs(self, body: bytes) -> list[dict]:
            return [
                {
                    "oid": one["oid"],
                    "size": one["size"],
                    "actions": {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}},
                }
                for one in json.loads(body)["objects"]
            ]

        def _commit(self, name: str, body: bytes) -> None:
            for line in body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "header":
                    hub.messages.append(value["summary"])
                elif entry["key"] == "file":
                    hub.repositories[name][value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    hub.repositories[name][value["path"]] = hub.objects[value["oid"]]
            url = f"{hub.url}/{name}/commit/{COMMIT}"
            self.answer(200, {"commitUrl": url, "commitOid": COMMIT})

        def do_PUT(self) -> None:
            hub.asked.append(f"PUT {self.path}")
            data = self.body()
            found = hashlib.sha256(data).hexdigest()
            if self.path != f"/lfs/{found}":
                return self.answer(400, {"error": "the content is another"})
            hub.objects[found] = data
            return self.answer(200, {})

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            hub.asked.append(f"{self.command} {path}")
            parts = path.strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                return self._about("/".join(parts[2:4]), parts[4:])
            name, file = "/".join(parts[:2]), "/".join(parts[4:])
            data = hub.repositories.get(name, {}).get(file)
            if len(parts) < 5 or parts[2] != "resolve" or data is None:
                return self.answer(404, {"error": "not found"}, X_Error_Code="EntryNotFound")
            etag = f'"{hashlib.sha256(data).hexdigest()}"'
            return self.answer(200, data, ETag=etag, X_Repo_Commit=COMMIT)

        do_HEAD = do_GET

        def _about(self, name: str, rest: list[str]) -> None:
            files = hub.repositories.get(name)
            if files is None:
                code = "RepoNotFound"
                return self.answer(404, {"error": "Repository not found"}, X_Error_Code=code)
            if rest[:1] == ["tree"]:
                entries = [
                    {"type": "file", "path": path, "size": len(data), "oid": COMMIT}
                    for path, data in files.items()
                ]
                return self.answer(200, entries)
            siblings = [{"rfilename": path} for path in files]
            about = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}
            return self.answer(200, {**about, "private": hub.private[name], "tags": []})

    return Handler


@contextmanager
def standing_in() -> Iterator[Hub]:
    """A hub that answers while the block runs."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
