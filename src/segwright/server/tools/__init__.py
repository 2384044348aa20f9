"""Annotation tools' protocols: what Label Studio and X-AnyLabeling ask of a server, on the page's own networks."""
