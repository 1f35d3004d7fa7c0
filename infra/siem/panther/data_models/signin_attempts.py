import panther_event_type_helpers as event_type

# A rule of the firewall that only reports lets the sign-in through.
SUCCESSES = ("success", "firewall_reported_success")


def get_event_type(event):
    category = event.get("category", "")
    if category in SUCCESSES:
        return event_type.SUCCESSFUL_LOGIN
    if category.endswith("_failed"):
        return event_type.FAILED_LOGIN
    return None
