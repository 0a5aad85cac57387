"""What goes along with a job: captured where it is enqueued, restored around its attempts.

The variables here can be read, and set, by anybody: in a view, in a job, in a logging filter.
"""

from .values import request_id, tenant, traceparent, user_id

__all__ = ["request_id", "tenant", "traceparent", "user_id"]
