"""What a version is made of: features and classes, the archive that holds it, the scorer that answers with it.

Everything here also runs on the Python 3.10 of the training and endpoint images, with numpy alone.
"""
