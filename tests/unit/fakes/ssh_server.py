# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real SSH server, asyncssh, in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh


@contextmanager
def sftp_server(folder: Path, user: str, address: str = "127.0.0.1") -> Iterator[dict[str, Any]]:
    """It takes one key of one user, and serves ``folder/kept``: the options of a repository there."""
    host_key, key = (asyncssh.generate_private_key("ssh-ed25519") for _number in range(2))
    (folder / "kept").mkdir()
    key.write_private_key(folder / "key")
    (folder / "key").chmod(0o600)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    class Server(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return True

        def public_key_auth_supported(self) -> bool:
            return True

        def validate_public_key(self, username: str, key_: asyncssh.SSHKey) -> bool:
            return username == user and key_ == key.convert_to_public()

    async def begin() -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(
            Server,
            address,
            0,
            server_host_keys=[host_key],
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(folder / "kept").encode()),
        )

    acceptor = asyncio.run_coroutine_threadsafe(begin(), loop).result(20)
    try:
        port = acceptor.get_port()
        public = host_key.export_public_key().decode().strip()
        (folder / "known").write_text(f"[{address}]:{port} {public}\n")
        yield {
            "url": f"sftp://{user}@{address}:{port}//east",
            "ssh_key_file": str(folder / "key"),
            "ssh_known_hosts": str(folder / "known"),
        }
    finally:
        # In its own thread: it counts connections that end meanwhile.
        loop.call_soon_threadsafe(acceptor.close)
        asyncio.run_coroutine_threadsafe(acceptor.wait_closed(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
