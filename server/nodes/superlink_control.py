"""A program of its own that carries out commands at a SuperLink's Control API, over one connection.

    python -m server.nodes.superlink_control HOST:PORT CA.CRT

Each line of its input is a command as JSON, each line of its output the answer to one.
"""

import json
import sys
from pathlib import Path
from typing import Any

import httpx
from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest, UnregisterNodeRequest
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor

LONGEST_REASON = 500


def _carry_out(client: ControlHttpClient, command: dict[str, Any]) -> dict[str, Any]:
    """The answer to a command."""
    match command["do"]:
        case "list":
            found = client.ListNodes(ListNodesRequest()).nodes_info
            return {
                "nodes": [
                    {"node_id": str(n.node_id), "public_key": n.public_key.decode(), "name": n.name, "status": n.status}
                    for n in found
                ]
            }
        case "register":
            request = RegisterNodeRequest(
                public_key=command["public_key"].encode(), name=command["name"], location=command["location"] or None
            )
            return {"node_id": str(client.RegisterNode(request).node_id)}
        case _:
            client.UnregisterNode(UnregisterNodeRequest(node_id=int(command["node_id"])))
            return {}


def answer(client: ControlHttpClient, command: dict[str, Any]) -> dict[str, Any]:
    """The answer to a command, or why there is none: `refused` by the SuperLink, or it is `away`."""
    try:
        return _carry_out(client, command)
    except httpx.HTTPStatusError as error:
        return {"refused": f"{error.response.status_code} {error.response.text[:LONGEST_REASON]}"}
    except httpx.TransportError as error:
        return {"away": str(error) or type(error).__name__}


def main() -> None:
    """Answer commands until the input ends."""
    address, certificate = sys.argv[1:]
    interceptors = [RuntimeVersionHttpInterceptor(component_name="flwr CLI")]
    with ControlHttpClient.from_server_address(address, False, Path(certificate).read_bytes(), interceptors) as client:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(answer(client, json.loads(line))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
