"""A small shop of ten services that sell, charge, pack and ship through the broker, and make typical mistakes.

The shop does not depend on the sidecar: it has plain clients, its own formats and its own consumer groups.

    saga              the reactions of each service to events
    orders            an order and its outcome
    event_data        the data of each event
    messages          an event in memory and a record on the wire
    serializers       conversion between the two
    trace_context     trace headers
    fault_injection   deliberate mistakes in single records
    bad_habits        valid events that are wrong by design, one kind for each lint rule
    handlers          reactions to an event, without a broker
    simulation        all events of an order, computed in advance
    transport         the port to a broker; kafka_transport and redis_transport implement it
    services          the running services
    expected_counts   counts of published events
"""
