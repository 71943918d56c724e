"""From files to a graph of tasks: read headers, check, group, associate; no pixels and no science here."""
