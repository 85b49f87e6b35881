"""What runs inside a training job: SageMaker's container contract around one scikit-learn recipe, exported to ONNX.

Everything here also runs on the Python 3.10 of AWS's prebuilt scikit-learn image, away from boto3 and pydantic.
"""
