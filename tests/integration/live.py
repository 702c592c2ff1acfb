"""Settings of pipelines in tests, and the models that they load."""

from dataclasses import replace

from deploy.ports import free_ports
from streams.settings import Settings

TICK_MODELS = ("lstm-ticks", "performer-ticks")
"""All that the default profile asks for: each model that Triton loads imports torch."""


def settings_for(stack, folder, **changes) -> Settings:
    """Settings of a pipeline on `stack`, quick to notice and to checkpoint."""
    base = Settings(
        bootstrap_servers=stack.bootstrap_servers,
        triton_url=stack.triton_grpc,
        state_dir=folder,
        heartbeat_writer="replay",
        metrics_port=free_ports().kafka,
        checkpoint_seconds=2.0,
        session_timeout_seconds=6.0,
    )
    return replace(base, **changes)
