"""Lambda's GPU cloud as a machine provider, after its published API (version 1.10)."""

from sophia.providers.lambda_cloud.client import AiohttpTransport, LambdaClient, Reply, Transport
from sophia.providers.lambda_cloud.provider import LambdaProvider

__all__ = ["AiohttpTransport", "LambdaClient", "LambdaProvider", "Reply", "Transport"]
