"""The methods of `Index`, in classes by what they are for; each hands work to a room and knows nothing of files and arrays."""
