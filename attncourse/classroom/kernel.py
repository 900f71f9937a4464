"""Talk to a kernel that may die at any moment, without waiting for its heart."""

from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.channels import HBChannel
from traitlets import Type


class NoHeartbeat(HBChannel):
    """A heartbeat that does not beat.

    Jupyter's waits for ever for a kernel that died before it answered. Whether the process lives is asked of
    the system instead.
    """

    def run(self) -> None:
        """Do nothing."""


class Client(AsyncKernelClient):
    """A client that does not wait for a heartbeat."""

    hb_channel_class = Type(NoHeartbeat)
