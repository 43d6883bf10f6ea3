"""A flow as a document for people and other tools: a page, Markdown, diagrams and traces.

They are made from the API's model of a flow, in which redacted values are hidden already, and contain no payloads.
"""
