/** What is legal in device table entries and still worth saying. AMD IOMMU specification (48882), 2.2.2.1. */
import { getNumber, type Words } from '../../base/layout.ts'
import { dteRights, guestTranslation, WAY_ABORT, WAY_BYPASS, WAY_GCR3, WAY_PASS_THROUGH, wayWithoutPasid } from './context.ts'
import { DTE, dteMode } from './dte.ts'
import type { AmdFeatures } from './features.ts'

/** What IR and IW let through. */
const RIGHTS = ['nothing: IR and IW are 0', 'reads', 'writes', 'reads and writes']

/** About a legal entry. */
export function remarksDte(given: Words, at: number, features: AmdFeatures): string[] {
  const words = Int32Array.from(given.subarray(at, at + DTE.bits / 32))
  const d = (name: keyof typeof DTE.fields) => getNumber(words, DTE.fields[name])
  const out: string[] = []
  const way = wayWithoutPasid(features, words)
  const rights = RIGHTS[dteRights(words)]!
  if (way === WAY_BYPASS) out.push('V is 0: addresses pass untranslated')
  else if (way === WAY_ABORT) out.push('TV is 0: what needs a translation is aborted')
  else {
    if (way === WAY_PASS_THROUGH) out.push(`Mode is 0: requests without PASID pass untranslated (${rights})`)
    else if (way === WAY_GCR3) out.push('GIOV is 1: requests without PASID use GCR3 entry 0')
    else if (d('GV') === 1) out.push('GIOV is 0: requests without PASID use the host tables')
    if (way !== WAY_PASS_THROUGH && dteRights(words) !== 3) out.push(`IR and IW let through ${rights}`)
    if (d('GV') === 1 && !guestTranslation(features, words)) out.push('CONTROL.GTEn is 0: GV counts as 0')
    if (d('GV') === 1 && dteMode(words) !== 0) {
      const root = features.gcr3RootGuest ? 'a guest physical address' : 'a system physical address (CONTROL.GCR3TRPMode is 0)'
      out.push(`nested: GCR3 entries hold guest physical addresses; the GCR3 table itself is at ${root}`)
    }
    if (d('GV') === 0 && d('GIOV') === 1) out.push('GV is 0: GIOV says nothing')
  }
  if (d('IV') === 0) out.push('IV is 0: interrupts pass unmapped')
  return out
}
