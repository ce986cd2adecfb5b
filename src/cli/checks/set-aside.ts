/** Items of a list that say nothing reliable: they are not checked, and the reader is told how many and why. */
import type { CheckList } from './contract.ts'

/** The same list without the items for which there is a reason. */
export function setAside(list: CheckList, reasonOf: (index: number) => string | null): CheckList {
  const kept: number[] = []
  const reasons = new Map<string, number>()
  for (let index = 0; index < list.count; index++) {
    const reason = reasonOf(index)
    if (reason === null) kept.push(index)
    else reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
  }
  if (reasons.size === 0) return list
  return {
    name: list.name,
    count: kept.length,
    check: (at) => list.check(kept[at]!),
    remarks: () => [
      ...(list.remarks?.() ?? []),
      ...[...reasons].map(([reason, count]) => `${list.name}: ${count} of ${list.count} are set aside: ${reason}`),
    ],
  }
}
