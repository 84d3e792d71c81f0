"""The version of nagindex, read by the build backend and written into every manifest."""

__version__ = "0.1.0"
