// Which carrier takes an order: the cheapest that is fast enough for what was promised.

interface Order {
  id: string;
  weight_kg?: number;
  service?: "standard" | "express";
  country?: string;
}

interface Rate {
  carrier: string;
  service: string;
  price: number;
  days: number;
  max_kg: number;
}

interface Inputs {
  order: Order;
  carrier_rates: Rate[];
  sla_policy: Record<string, { max_days: number }>;
}

export default function select({ order, carrier_rates, sla_policy }: Inputs) {
  const service = order.service ?? "standard";
  const promised = sla_policy[service];
  if (promised === undefined) {
    throw new Error(`nothing is promised for the service ${service}`);
  }
  const weight = order.weight_kg ?? 1;
  const fit = carrier_rates
    .filter((rate) => rate.days <= promised.max_days && weight <= rate.max_kg)
    .sort((a, b) => a.price - b.price || a.carrier.localeCompare(b.carrier));
  if (fit.length === 0) {
    return { branch: "none", carrier: null, reason: `no carrier takes ${weight} kg within ${promised.max_days} days` };
  }
  const best = fit[0]!;
  return {
    branch: "book",
    carrier: best.carrier,
    price: best.price,
    reason: `${best.carrier} is the cheapest of ${fit.length} within ${promised.max_days} days`,
  };
}
