"""The methods of `Index`, in classes by what they are for; each hands its work to a room, and knows nothing of files and arrays itself."""
