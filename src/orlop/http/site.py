"""What is remembered of one registry in a run: its endpoint, its authentication, its credentials."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import Error
from ..settings import Network
from .addresses import Reach
from .auth import Authenticator
from .connection import Connections
from .credentials import Credential, find
from .hosts import endpoint

# a shorter one would black out ordinary words, and hides nothing that could not be guessed
_SECRET_LENGTH = 4


class Site:
    """Safe from any thread. `named` is the host that the network's `username` and `password` are for."""

    def __init__(
        self, name: str, network: Network, named: str, connections: Connections, clock: Callable[[], float]
    ) -> None:
        self.endpoint = endpoint(name, network)
        self._network = network
        self._named = name == named
        self._lock = threading.Lock()
        self._found: dict[str, Credential] = {}
        self.token_lock = threading.Lock()
        self.auth = Authenticator(
            self.endpoint.url,
            realm_hosts=network.realm_hosts,
            local=lambda: connections.reach_of(self.endpoint.url) in (Reach.LOOPBACK, Reach.PRIVATE),
            clock=clock,
        )

    def credential(self, repository: str) -> Credential:
        """Found once a repository, as a helper may take seconds or ask a person."""
        with self._lock:
            if repository not in self._found:
                self._found[repository] = self._credential(repository)
            return self._found[repository]

    def conceal(self, text: str) -> str:
        """`text` without the secrets that were sent so far: some registries repeat what they refuse (CR10)."""
        with self._lock:
            known = list(self._found.values())
        secrets = {secret for credential in known for secret in credential.secrets} | self.auth.issued
        # the longest first: a password may be a part of a token
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= _SECRET_LENGTH:
                text = text.replace(secret, "***")
        return text

    @contextmanager
    def discreet(self) -> Iterator[None]:
        """Our errors leave it without the secrets that the registry repeated in what they quote."""
        try:
            yield
        except Error as error:
            error.rewrite(self.conceal)
            raise

    def _credential(self, repository: str) -> Credential:
        if self._named and self._network.username:
            return Credential(self._network.username, self._network.password, source="the command line")
        return find(self.endpoint.name, repository, self._network)
