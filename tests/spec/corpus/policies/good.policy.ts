export default function pick({ order }: { order: { value: number } }) {
  return { branch: order.value > 100 ? "express" : "standard" };
}
