"""The one loop over modules, and what surrounds it: layout of the output, encoding, report, writer.

Says where and how to compute, and how a result becomes a state dict or a file; not what an edit
does. Imports reading and what is below it.
"""
