"""Reading containers' logs for kctl: one to its end, many at once, and pods that come later."""

from __future__ import annotations

import threading
import time
from typing import Any

from cli.carry import raise_exit
from cli.complaints import report
from cli.loglines import Printer, Source, Splitter
from cli.pods import container_of, containers, note_default
from pinnace import kinds
from pinnace.errors import ApiError, BadRequest, Expired, NotFound, TooManyRequests, Unavailable

# Seconds: that a cut stream is tried again before it is given up, and between tries.
RESUME_WITHIN, RETRY = 60.0, 0.5


class LogReader:
    """`options` are LogOptions for every container."""

    def __init__(self, client: Any, options: Any, printer: Printer) -> None:
        from pinnace.api.v1 import streams_pb2_grpc

        self._client = client
        self._options = options
        self._printer = printer
        self._stub = streams_pb2_grpc.StreamsStub(client.channel)

    def read(self, source: Source) -> None:
        """One container's log to its end. A stream that is cut is taken up again after the last line. Raises ApiError."""
        from pinnace.api.v1 import streams_pb2

        options = streams_pb2.LogOptions()
        options.CopyFrom(self._options)
        follow = options.follow and not options.limitBytes
        if follow:
            options.timestamps = True
        splitter = Splitter(stamped=follow, shown=self._options.timestamps)
        cut = 0.0
        while True:
            said = splitter.nanos
            try:
                self._once(source, options, splitter)
                return
            except Unavailable:
                now = time.monotonic()
                cut = now if not cut or splitter.nanos != said else cut
                if not follow or now - cut > RESUME_WITHIN:
                    raise
            except NotFound:
                if splitter.nanos:
                    # It was deleted while we followed it.
                    return
                raise
            splitter.forget()
            if splitter.nanos:
                options.sinceNanos = splitter.nanos + 1
                options.ClearField("tailLines")
            time.sleep(RETRY)

    def _once(self, source: Source, options: Any, splitter: Splitter) -> None:
        from pinnace.api.v1 import streams_pb2

        opening = streams_pb2.OpenStream(namespace=source.namespace, pod=source.pod, container=source.container, logs=options)
        for frame in self._client.stream(self._stub.Logs, opening):
            if frame.WhichOneof("frame") == "stdout":
                self._printer.write(source, splitter.feed(frame.stdout))
            elif frame.WhichOneof("frame") == "exit":
                self._printer.write(source, splitter.finish())
                raise_exit(frame.exit)
                return
        raise Unavailable("the stream ended before the log did")


class Many:
    """Several containers followed at once, a thread for each."""

    def __init__(self, reader: LogReader, most: int) -> None:
        self._reader = reader
        self._most = most
        self._threads: dict[Source, threading.Thread] = {}
        self.code = 0

    def add(self, source: Source) -> None:
        """Follow it, unless it has been before. Raises TooManyRequests."""
        if source in self._threads:
            return
        running = sum(thread.is_alive() for thread in self._threads.values())
        if running >= self._most:
            text = f"already following {running} logs; raise --max-log-requests"
            raise TooManyRequests(f"pod {source.pod}, container {source.container}: {text}")
        thread = threading.Thread(target=self._read, args=(source,), daemon=True)
        self._threads[source] = thread
        thread.start()

    def _read(self, source: Source) -> None:
        try:
            self._reader.read(source)
        except ApiError as error:
            self.code = 1
            report(f"error: pod {source.pod}, container {source.container}: {error.message}")
        except OSError:
            # The output cannot be written; the thread's hook reports it, or ends kctl with its reader.
            self.code = 1
            raise

    def wait(self) -> int:
        """Until all have ended; the exit code."""
        for thread in list(self._threads.values()):
            thread.join()
        return self.code

    def forget(self, uid: str) -> None:
        """Of a pod that is gone: the same name may come again."""
        for source in [source for source in self._threads if source.uid == uid]:
            if not self._threads[source].is_alive():
                del self._threads[source]


class Sources:
    """The containers of pods that are asked for: `every` one of a pod, the named one, or its default, which is noted once."""

    def __init__(self, *, container: str, every: bool) -> None:
        self._container = container
        self._every = every
        # UIDs of pods of which the default was noted.
        self._noted: set[str] = set()

    def of(self, pod: Any) -> list[Source]:
        """Raises NotFound."""
        meta = pod.metadata
        if not self._every and not self._container and meta.uid not in self._noted:
            self._noted.add(meta.uid)
            note_default(pod)
        chosen = containers(pod) if self._every else [container_of(pod, self._container)]
        return [Source(meta.namespace, meta.name, item.name, meta.uid) for item in chosen]

    def forget(self, uid: str) -> None:
        """Of a pod that is gone."""
        self._noted.discard(uid)


def follow_selected(client: Any, many: Many, namespace: str, labels: str, sources: Sources) -> int:
    """Pods that match now and later, until interrupted."""
    while True:
        try:
            for type_, pod in client.watch(kinds.POD, namespace, labels=labels):
                if type_ == "DELETED":
                    many.forget(pod.metadata.uid)
                    sources.forget(pod.metadata.uid)
                elif pod is not None and pod.spec.nodeName:
                    _add(many, pod, sources)
        except (Unavailable, Expired):
            time.sleep(RETRY)


def _add(many: Many, pod: Any, sources: Sources) -> None:
    try:
        for source in sources.of(pod):
            many.add(source)
    except (NotFound, TooManyRequests) as error:
        report(f"error: {error.message}")


def read_all(client: Any, reader: LogReader, namespace: str, labels: str, sources: Sources) -> int:
    """Of all pods that match, one after the other. Raises BadRequest when there is none."""
    pods = [pod for pod in client.list(kinds.POD, namespace, labels=labels) if pod.spec.nodeName]
    if not pods:
        raise BadRequest(f"no scheduled pod in namespace {namespace} matches {labels}")
    code = 0
    for pod in pods:
        for source in sources.of(pod):
            try:
                reader.read(source)
            except ApiError as error:
                code = 1
                report(f"error: pod {source.pod}, container {source.container}: {error.message}")
    return code
