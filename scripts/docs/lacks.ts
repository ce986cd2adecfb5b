/** What scenarios cannot do on an architecture, in the words that `iomm run` says of the steps that it leaves out. */
import { ARCHITECTURES, architecture } from '../../src/machine/architectures.ts'
import { table } from './blocks.ts'

const STALLS = { pasidBits: 20, ats: false, pri: false, stall: true, plain: true, responseNeedsPasid: true } as const
/** Options of `iommu:` that may leave an architecture without PASIDs. */
const LEGACY = { mode: 'legacy' } as const

export function lacks(): string {
  const rows = ARCHITECTURES.vocabulary.architectures.flatMap((kind) => {
    const { title, lacks: lacking, lacksPasids } = architecture(kind)
    const withoutPasids = lacksPasids?.(LEGACY) ?? null
    const row = [title, lacking(STALLS) ?? 'nothing']
    return withoutPasids === null ? [row] : [row, [`${title}, mode: ${LEGACY.mode}`, withoutPasids]]
  })
  return table(['', 'what scenarios cannot do on it'], rows)
}
