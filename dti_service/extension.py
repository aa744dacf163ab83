"""The Jupyter server extension: settings as traits, and the wiring of service, dispatcher and handlers."""

from __future__ import annotations

import contextlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Float, Int, List, TraitError, TraitType, Unicode, validate

from dti_service import logs, profile
from dti_service.background import Background
from dti_service.errors import InvalidRequest
from dti_service.handlers import all_handlers
from dti_service.handlers.context import Context
from dti_service.handlers.demos import demo_routes
from dti_service.service import Service
from dti_service.settings import Settings, parse_devices, parse_duration

# Traits that are written otherwise than the setting that they stand for.
_AS_TEXT: dict[str, Any] = {
    "data_dir": str,
    "time_limit": lambda seconds: f"{seconds:g}s",
    "dataset_roots": lambda roots: [*map(str, roots)],
    "log_dir": lambda folder: "" if folder is None else str(folder),
}


class _FromEnvironment(TraitType[Any, Any]):
    """A trait whose default is read from the environment when the application starts."""

    def default(self, obj: Any = None) -> Any:
        if obj is None:
            return super().default(obj)
        return obj.from_environment(self.name)


class Text(_FromEnvironment, Unicode):
    pass


class TextList(_FromEnvironment, List):
    pass


class Flag(_FromEnvironment, Bool):
    pass


class WholeNumber(_FromEnvironment, Int):
    pass


class Number(_FromEnvironment, Float):
    pass


class DTIServiceApp(ExtensionApp):
    """Runs DTI notebooks as experiments: REST interface, page at /dti/, queue."""

    name = "dti_service"
    app_name = "DTI Service"
    description = __doc__
    extension_url = "/dti/"
    load_other_extensions = False  # started by itself: this service alone; JupyterLab loads it beside its own

    data_dir = Text(
        help="Directory of experiments, datasets and the index. Default: DTI_DATA_DIR, else ./data."
    ).tag(config=True)
    redis_url = Text(
        help="Redis for running on many machines, e.g. redis://host:6379/0; empty: the local dispatcher, which needs"
        " no server. Default: DTI_REDIS_URL."
    ).tag(config=True)
    devices = Text(
        help='Devices that run experiments: "auto" (every CUDA device, else one CPU slot) or a list such as'
        " cuda:0,cuda:1 or cpu. Default: DTI_DEVICES, else auto."
    ).tag(config=True)
    time_limit = Text(
        help="Longest time of one run, e.g. 90m, 24h, 2d. Default: DTI_TIME_LIMIT, else 24h."
    ).tag(config=True)
    installed_demos = TextList(
        Unicode(),
        help="Python packages that provide further notebooks. Default: DTI_INSTALLED_DEMOS, comma separated.",
    ).tag(config=True)
    public_url = Text(
        help="The address under which browsers and fronts reach this server, with its base URL; links in callbacks are"
        " made from it. Empty: as each request came. Default: DTI_PUBLIC_URL."
    ).tag(config=True)
    allow_hosts = TextList(
        Unicode(),
        help="Hosts (host, host:port or network) that dataset and notification addresses may name besides public ones."
        " Default: DTI_ALLOW_HOSTS, comma separated.",
    ).tag(config=True)
    dataset_roots = TextList(
        Unicode(),
        help="Folders of images that REST clients may name as a dataset. Default: DTI_DATASET_ROOTS, comma separated.",
    ).tag(config=True)
    max_upload_mb = WholeNumber(
        min=1, help="Largest upload in megabytes. Default: DTI_MAX_UPLOAD_MB, else 2048."
    ).tag(config=True)
    retention_days = Number(
        min=0.0,
        help="Days after which finished experiments that are not marked to be kept are removed; 0: never."
        " Default: DTI_RETENTION_DAYS.",
    ).tag(config=True)
    dataset_retention_days = Number(
        min=0.0,
        help="Days after which datasets that no experiment uses any more are removed, by the server once a day and by"
        " `dti cleanup`; 0: never. Default: DTI_DATASET_RETENTION_DAYS.",
    ).tag(config=True)
    quota_gb = Number(
        min=0.0,
        help="Gigabytes that all experiments and datasets together may fill; 0: no limit. Default: DTI_QUOTA_GB.",
    ).tag(config=True)
    user_quota_gb = Number(
        min=0.0,
        help="Gigabytes that the experiments and datasets of one user may fill; 0: no limit."
        " Default: DTI_USER_QUOTA_GB.",
    ).tag(config=True)
    user_running = WholeNumber(
        min=0,
        help="How many experiments of one user run at once, on all machines; others pass what has to wait for that."
        " 0: no limit. Default: DTI_USER_RUNNING.",
    ).tag(config=True)
    user_experiments = WholeNumber(
        min=0,
        help="How many experiments of one user may wait or run at once; 0: no limit. Default: DTI_USER_EXPERIMENTS.",
    ).tag(config=True)
    owner_only = Flag(
        help="Only its owner may change, cancel or delete an experiment or a dataset, and only administrators may clean"
        " up; everybody may look, run it again and save readings. Default: DTI_OWNER_ONLY, else false."
    ).tag(config=True)
    admins = TextList(
        Unicode(),
        help="Users to whom owner_only does not apply. Default: DTI_ADMINS, comma separated.",
    ).tag(config=True)
    min_free_gb = Number(
        min=0.0,
        help="Free space on the data disk, in gigabytes, without which nothing is queued and no run starts; what waits"
        " goes on when there is room again. Default: DTI_MIN_FREE_GB, else 0.2.",
    ).tag(config=True)
    max_attempts = WholeNumber(
        min=1, help="How often a run is started again after a crash. Default: DTI_MAX_ATTEMPTS, else 3."
    ).tag(config=True)
    warm_kernels = Flag(
        help="Keep a kernel with PyTorch and the library loaded ready, so that the next run begins at once; costs about"
        " 0.8 GB of memory, and is given up while memory is short. Default: DTI_WARM_KERNELS, else false."
    ).tag(config=True)
    notify_secret = Text(
        help="Secret with which callbacks are signed (header X-DTI-Signature); empty: not signed."
        " Default: DTI_NOTIFY_SECRET."
    ).tag(config=True)
    profile = Text(
        help="development, or production: with the latter the server refuses to start with world-readable keys, a data"
        " directory that everybody may write to, or a Redis that forgets. Default: DTI_PROFILE, else development."
    ).tag(config=True)
    discover_open = Flag(
        help="Let anybody who can reach this server use the compatibility routes (/clustering/*, /datasets/*, /test)"
        " without a token: start, watch, cancel and delete tasks. Default: DTI_DISCOVER_OPEN, else false."
    ).tag(config=True)
    log_json = Flag(
        help="Log one JSON object a line, with the experiment that it is about. Default: DTI_LOG_JSON, else false."
    ).tag(config=True)
    log_dir = Text(
        help="Folder for rotating log files of each server and worker, besides standard error; empty: none."
        " Default: DTI_LOG_DIR."
    ).tag(config=True)
    x_accel = Text(
        help="The internal location of an nginx before this server through which it sends files of the data directory"
        " (see deploy/nginx/), such as /_dti_files; empty: the server sends them itself. Default: DTI_X_ACCEL."
    ).tag(config=True)
    run_experiments = Bool(
        True,
        help="Run queued experiments in this server. False: only offer the interface, while `dti worker` runs them.",
    ).tag(config=True)

    aliases = {  # noqa: RUF012
        "data-dir": "DTIServiceApp.data_dir",
        "devices": "DTIServiceApp.devices",
        "redis-url": "DTIServiceApp.redis_url",
    }
    flags = {  # noqa: RUF012
        **ExtensionApp.flags,
        "log-json": ({"DTIServiceApp": {"log_json": True}}, "Log one JSON object a line."),
    }

    @cached_property
    def environment(self) -> Settings:
        return Settings.from_env()

    def from_environment(self, trait: str | None) -> Any:
        """The default of a trait."""
        value = getattr(self.environment, "time_limit_s" if trait == "time_limit" else str(trait))
        if trait in _AS_TEXT:
            return _AS_TEXT[trait](value)
        return "" if value is None else list(value) if isinstance(value, tuple) else value

    @validate("time_limit")
    def _check_time_limit(self, proposal: Any) -> str:
        return _checked(parse_duration, proposal.value)

    @validate("devices")
    def _check_devices(self, proposal: Any) -> str:
        return _checked(parse_devices, proposal.value)

    @validate("profile")
    def _check_profile(self, proposal: Any) -> str:
        if proposal.value not in profile.PROFILES:
            raise TraitError(f"must be {' or '.join(profile.PROFILES)}, not {proposal.value!r}")
        return proposal.value

    def service_settings(self) -> Settings:
        """The settings that the traits describe."""
        return Settings(
            data_dir=Path(self.data_dir),
            redis_url=self.redis_url or None,
            devices=self.devices,
            time_limit_s=parse_duration(self.time_limit),
            installed_demos=tuple(self.installed_demos),
            public_url=self.public_url or None,
            allow_hosts=tuple(self.allow_hosts),
            dataset_roots=tuple(Path(root).expanduser().resolve() for root in self.dataset_roots),
            max_upload_mb=self.max_upload_mb,
            retention_days=self.retention_days,
            dataset_retention_days=self.dataset_retention_days,
            quota_gb=self.quota_gb,
            user_quota_gb=self.user_quota_gb,
            user_experiments=self.user_experiments,
            user_running=self.user_running,
            owner_only=self.owner_only,
            admins=tuple(self.admins),
            min_free_gb=self.min_free_gb,
            max_attempts=self.max_attempts,
            notify_secret=self.notify_secret or None,
            profile=self.profile,
            warm_kernels=self.warm_kernels,
            discover_open=self.discover_open,
            log_json=self.log_json,
            log_dir=Path(self.log_dir).expanduser().resolve() if self.log_dir else None,
            x_accel=self.x_accel.rstrip("/") or None,
        )

    def initialize(self) -> None:  # type: ignore[override]
        try:
            self.environment  # noqa: B018 (read once, before any trait asks for its default)
        except InvalidRequest as error:
            for item in error.errors:
                self.log.critical("%s: %s", item["field"], item["reason"])
            if self.serverapp is not None and self.serverapp.starter_app is self:
                self.serverapp.exit(1)  # a server for this service alone is of no use without it
            raise
        super().initialize()

    def initialize_settings(self) -> None:
        settings = self.service_settings()
        self._set_up_logs()
        self._refuse_what_is_dangerous(settings)
        self.background = Background(Service(settings), settings, self.serverapp)
        self.context: Context = self.background.context
        self.settings["dti_service_context"] = self.context
        if settings.discover_open:
            self.log.warning(
                "THE COMPATIBILITY ROUTES ARE OPEN (discover_open): anybody who can reach this server may start, watch,"
                " cancel and delete tasks below /clustering without a token."
            )

    def _link_jupyter_server_extension(self, serverapp: Any) -> None:
        super()._link_jupyter_server_extension(serverapp)
        with contextlib.suppress(InvalidRequest):  # said when the extension is initialised
            self._set_up_logs()

    def _set_up_logs(self) -> None:
        server: Any = self.serverapp
        provider = getattr(server, "identity_provider", None)  # not there yet when the extension is linked
        try:
            logs.set_up(self.service_settings(), "server", secrets=[getattr(provider, "token", "") or ""])
        except InvalidRequest as error:
            if provider is None:
                raise
            for item in error.errors:
                self.log.critical("%s: %s", item["field"], item["reason"])
            server.exit(1)

    def _refuse_what_is_dangerous(self, settings: Settings) -> None:
        """Ends the whole server, and not only this extension: it is the server that would be open."""
        server: Any = self.serverapp
        findings = profile.examine(
            ip="127.0.0.1" if server.sock else server.ip,
            authenticated=server.identity_provider.auth_enabled,
            open_routes=settings.discover_open,
            data_dir=settings.data_dir,
            secret_files=profile.secret_files(os.environ, server.keyfile),
            redis_url=settings.redis_url,
        )
        refused = profile.refused(findings, settings.profile)
        for finding in findings:
            (self.log.critical if finding in refused else self.log.warning)("%s", finding.message)
        if refused:
            self.log.critical("The server does not start (profile %s)", settings.profile)
            server.exit(1)

    def initialize_handlers(self) -> None:
        routes = [*demo_routes(self.context.service), *all_handlers()]
        self.handlers.extend((pattern, handler, {"context": self.context}) for pattern, handler in routes)

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        await self.background.start(run_experiments=self.run_experiments)

    async def stop_extension(self) -> None:
        await self.background.stop()

    def current_activity(self) -> dict[str, int] | None:
        """Running and queued experiments keep the server from being shut down as idle."""
        active = self.background.active()
        return {"experiments": active} if active else None


def _checked(parse: Any, text: str) -> str:
    try:
        parse(text)
    except ValueError as error:
        raise TraitError(str(error)) from error
    return text


main = DTIServiceApp.launch_instance

if __name__ == "__main__":
    main()
