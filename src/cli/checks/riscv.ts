/** How captures of a RISC-V IOMMU name what they tell about its tables, and the answers of its debug interface. */
import { hex } from '../../base/hex.ts'
import { encode, getField, wordsFromU64, wordsToU64 } from '../../base/layout.ts'
import type { Transaction } from '../../base/types.ts'
import { REG, TR_REQ_CTL, TR_RESPONSE } from '../../format/riscv/registers.ts'
import type { SpaceNode } from '../../inspect/graph.ts'
import type { RiscvIommu } from '../../model/riscv/iommu.ts'
import type { Capture, DebugTranslation } from '../../node/index.ts'
import type { CheckList } from './contract.ts'
import type { FactNames } from './tables.ts'

const mode = (name: string) => (space: SpaceNode) => space.format === `RISC-V ${name}`
const MODES = ['Sv32', 'Sv39', 'Sv48', 'Sv57', 'Sv32x4', 'Sv39x4', 'Sv48x4', 'Sv57x4']

export const RISCV_FACTS: FactNames = {
  deviceWords: 'dc',
  pasidWords: 'pc',
  deviceFields: {},
  pasidFields: { pscid: 'ta.PSCID' },
  spaceFields: { pscid: 'ta.PSCID', gscid: 'iohgatp.GSCID' },
  space: { root: ({ root }) => root, levels: ({ levels }) => BigInt(levels) },
  formats: Object.fromEntries(MODES.map((name) => [name.toLowerCase(), mode(name)])),
  bypass: ['bare'],
  structural: [],
}

/**
 * `debug_translations`: what the IOMMU itself answered through `tr_req_iova`, `tr_req_ctl` and `tr_response`. The model is asked through
 * the same registers. QEMU, which gave the answers, never sets tr_response.S: it tells where the page begins, however large the page is.
 * Answers about 64 KiB NAPOT pages are set aside: there QEMU 11.1.3 errs.
 * @param model as the registers of the capture describe it; nobody else may use it.
 */
export function debugList({ side }: Capture, model: RiscvIommu, explain: (transaction: Transaction) => string): CheckList {
  const items = side.debug_translations
  const napot: number[] = []
  const checked: number[] = []
  // Asking must leave no records behind.
  model.write(REG.fqcsr, 4, 0n)
  items.forEach((item, index) => {
    ;(isNapot(model, item) ? napot : checked).push(index)
  })
  return {
    name: 'debug_translations',
    count: checked.length,
    check(at) {
      const index = checked[at]!
      const item = items[index]!
      const answer = ask(model, item)
      if (answer === item.pa) return null
      const text = (pa: bigint | null) => (pa === null ? 'a fault' : hex(pa))
      return {
        kind: answer === null ? 'faults' : item.pa === null ? 'does not fault' : 'wrong address',
        item: `debug_translations[${index}] (device ${hex(item.devid)}, ${hex(item.iova)}${item.no_write === 1 ? ', read only' : ''})`,
        expected: `${text(item.pa)} (tr_response ${hex(item.tr_response)})`,
        actual: text(answer),
        explain: () => explain(transactionOf(item)),
      }
    },
    remarks: () =>
      napot.length === 0
        ? []
        : [
            `debug_translations: ${napot.length} of ${items.length} are set aside: they are about 64 KiB NAPOT pages, where QEMU's debug interface errs`,
          ],
  }
}

/** Where the page begins that the debug interface gives; null when it says that there is none. */
function ask(model: RiscvIommu, { devid, pasid, iova, no_write }: DebugTranslation): bigint | null {
  model.write(REG.tr_req_iova, 8, iova & ~0xfffn)
  const hasPasid = pasid !== null && pasid !== undefined
  const request = { 'Go/Busy': 1, NW: no_write, DID: devid, PV: hasPasid ? 1 : 0, PID: pasid ?? 0 }
  model.write(REG.tr_req_ctl, 8, wordsToU64(encode(TR_REQ_CTL, request))[0]!)
  const response = wordsFromU64([model.read(REG.tr_response, 8)])
  const field = (name: keyof typeof TR_RESPONSE.fields) => BigInt(getField(response, TR_RESPONSE.fields[name]))
  if (field('fault') === 1n) return null
  const page = field('PPN') >> 12n
  // S: ones below a zero at the low end of the page number say how large the range is.
  const mask = field('S') === 0n ? 0n : page ^ (page + 1n)
  return (page & ~mask) << 12n
}

function transactionOf({ devid, pasid, iova, no_write }: DebugTranslation): Transaction {
  const device = { device: devid, iova, access: no_write === 1 ? ('read' as const) : ('write' as const) }
  return pasid === null || pasid === undefined ? device : { ...device, pasid }
}

/** Whether the page table entry that decides has its N bit (63) set. */
function isNapot(model: RiscvIommu, item: DebugTranslation): boolean {
  const { steps } = model.explain(transactionOf(item))
  const last = steps.findLast(({ stage }) => stage !== 0)
  return last !== undefined && (last.words[0] ?? 0n) >> 63n === 1n
}
