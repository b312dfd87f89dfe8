"""Updates of a model: what changed, coded, signed, and put in its place so that a power cut does no harm.

old, new --`delta.make`--> sections --`package.seal`--> file.update
old, file.update --`package.unseal`, `delta.restore`--> new, byte for byte --`install.apply`--> in its place
"""
