"""Lambda's GPU cloud as a machine provider, after its published API (version 1.10)."""

from sophia.providers.http import Reply
from sophia.providers.lambda_cloud.client import AiohttpTransport, LambdaClient, Transport
from sophia.providers.lambda_cloud.provider import LambdaProvider

__all__ = ["AiohttpTransport", "LambdaClient", "LambdaProvider", "Reply", "Transport"]
