"""Writing a file in one line."""

from core.storage.sinks import FileSink


def write(tensors, path, metadata=(), reserve=1 << 16):
    with FileSink(path, reserve) as sink:
        for key, tensor in tensors.items():
            sink.put(key, tensor)
        sink.finish(dict(metadata))
