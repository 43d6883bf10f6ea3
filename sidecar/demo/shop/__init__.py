"""A small shop of eight services that sell, charge, pack and ship through the broker, and make the mistakes that
services make. It knows nothing of the sidecar: plain clients, its own formats, its own consumer groups.

    saga         who does what when which event arrives
    orders       what a customer ordered, and what becomes of it
    contents     what each event says
    messages     an event in memory; formats: as bytes and headers, and back; tracing: its trace context
    faults       what goes wrong on purpose
    reactions    an event in, events out: the four above put together, without a broker
    plan         all that follows an order, worked out in advance
    transport    how a service publishes and reads; kafka and redis_streams by their plain clients
    shop         the services, running
    ledger       what the shop knows that it has done
"""
