"""What runs inside the container of a SageMaker endpoint, and how it is packed.

Everything here also runs on the Python 3.10 of AWS's prebuilt scikit-learn image, away from boto3 and pydantic.
"""
