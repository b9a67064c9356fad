"""Purchases with the fields of the tutorial."""

from decimal import Decimal

from values import Bad, Number, group_key, is_text, money, parse, rfc3339, since_1970, transaction_id, whole

KNOWN = {"category", "payment_method", "quantity", "price", "timestamp", "ts",
         "transaction_id", "customer_id", "brand", "product_name"}


class Tutorial:
    """Reads records of a pipeline without `spec.events`."""

    def __init__(self, needs_id):
        self.needs_id = needs_id
        self.is_exploded = False
        self.dimension_count = 2

    def read(self, value):
        """Time, id and purchases, or the first reason in the documented order."""
        fields = parse(value)
        if fields.repeated & KNOWN:
            raise Bad("malformed_json")
        time = fields["timestamp"] if "timestamp" in fields else fields.get("ts", Bad)
        needed = [time] + [fields.get(name, Bad) for name in ("price", "quantity", "category", "payment_method")]
        id = fields.get("transaction_id", Bad) if self.needs_id else None
        if Bad in needed or id is Bad:
            raise Bad("missing_field")
        time, price, quantity, category, method = needed
        time = since_1970(time, 1) if isinstance(time, Number) else rfc3339(time)
        if not isinstance(price, Number) or Decimal(price) < 0:
            raise Bad("bad_price")
        price = money(Decimal(price))
        if not isinstance(quantity, Number):
            raise Bad("bad_quantity")
        quantity = whole(quantity, 1)
        for key in (category, method):
            if not is_text(key):
                raise Bad("bad_key")
            group_key(key)
        id = transaction_id(id) if self.needs_id else None
        return time, id, [{"dimensions": (category, method), "price": price, "quantity": quantity,
                           "amount": price * quantity, "sums": ()}]
