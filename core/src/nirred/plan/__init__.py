"""From files to a graph of tasks: read headers, check, group and associate; reads no pixels."""
