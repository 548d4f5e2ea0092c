"""Writes the machines' diagrams into architecture.md, from the tables that the code runs on.

python docs/generate_diagrams.py            writes them
python docs/generate_diagrams.py --check    says whether they are up to date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from media import agent_floor, answering_machine, caller_floor, overlap_floor
from media.floor_table import mermaid
from signaling.sip import client_transactions, server_transactions, session_timer

PAGE = Path(__file__).resolve().parent / "architecture.md"


def with_diagrams(page: str) -> str:
    """The page with the diagrams as the tables have them."""
    diagrams = {
        "caller-floor": mermaid(caller_floor.TABLE, caller_floor.CallerState.LISTENING),
        "agent-floor": mermaid(agent_floor.TABLE, agent_floor.AgentState.IDLE),
        "overlap-floor": mermaid(overlap_floor.TABLE, overlap_floor.OverlapState.CLEAR),
        "invite-client": mermaid(
            client_transactions.INVITE_CLIENT_TABLE, client_transactions.InviteClientState.CALLING
        ),
        "client": mermaid(client_transactions.CLIENT_TABLE, client_transactions.ClientState.TRYING),
        "invite-server": mermaid(
            server_transactions.INVITE_SERVER_TABLE, server_transactions.InviteServerState.RECEIVED
        ),
        "server": mermaid(server_transactions.SERVER_TABLE, server_transactions.ServerState.TRYING),
        "session-timer": mermaid(session_timer.TABLE, session_timer.TimerState.OFF),
        "answering-machine": mermaid(answering_machine.TABLE, answering_machine.AnsweringState.SILENT),
    }
    for name, diagram in diagrams.items():
        block = f"<!-- {name} -->\n```mermaid\n{diagram}\n```\n<!-- end -->"
        page, found = re.subn(rf"<!-- {name} -->.*?<!-- end -->", lambda _, b=block: b, page, flags=re.DOTALL)
        if found != 1:
            raise SystemExit(f"architecture.md has {found} places for {name}, not one")
    return page


def main() -> int:
    before = PAGE.read_text()
    after = with_diagrams(before)
    if "--check" in sys.argv:
        return 0 if before == after else 1
    PAGE.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
