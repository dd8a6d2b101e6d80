"""The same work written as each contender's own documentation would have it."""
