"""The folders that the cache of dequantized .gguf files holds."""

from nagindex.storage.verified import record_path


def kept_folders(cache=None):
    """Return the folders of the cache, temporary ones too."""
    folder = (cache or record_path().parent) / "gguf"
    return sorted(folder.iterdir()) if folder.is_dir() else []
