/** Each step of a translation in words: what was read, where, and what follows from it. It sees what the translator sees. */
import type { TranslationStep } from '../../base/explain.ts'
import { hex } from '../../base/hex.ts'
import type { Layout, Words } from '../../base/layout.ts'
import { rightsText } from '../../base/types.ts'
import { WAY_ABORT, WAY_BYPASS, WAY_GCR3, WAY_PASS_THROUGH } from '../../format/amdvi/context.ts'
import { DTE, dteGlx, gcr3Root } from '../../format/amdvi/dte.ts'
import { GCR3_ENTRY, GCR3_POINTER, gcr3Address } from '../../format/amdvi/gcr3.ts'
import { FOUND, HOST_REFUSED, ILLEGAL, NOT_VALID, type TableWalk } from '../../format/amdvi/lookup.ts'
import { CONTROL, REG } from '../../format/amdvi/registers.ts'
import { LEAF_BY_NEXT_LEVEL, type PtSpace } from '../../format/pt/format.ts'
import { WALK_OK, type Walker, type WalkObserver } from '../../format/pt/walker.ts'
import { entryStep, leadsTo, noteStep, rightsOf, structureStep } from '../common/explain.ts'
import type { ConfigObserver, Device } from './config.ts'
import type { RegisterFile } from './registers.ts'
import { entryText } from './why.ts'

export class Explainer implements ConfigObserver, WalkObserver {
  steps: TranslationStep[] = []
  /** The walker that it observes. */
  walker: Walker | null = null

  /** The register that decides before any table does. */
  registers(registers: RegisterFile): void {
    if (registers.enabled) return
    const words = Int32Array.of(registers.get(REG.CONTROL), registers.get(REG.CONTROL + 4))
    this.#structure('CONTROL', CONTROL, null, words, 'IommuEn is 0: no tables are read, everything passes as it is')
  }

  device(device: Device): void {
    const { status, address, words, why } = device
    const read = status === FOUND || status === ILLEGAL
    if (read) this.#structure('DTE', DTE, address, words, status === FOUND ? deviceText(device) : `illegal: ${why}`)
    else this.#nothing('DTE', address, why)
  }

  gcr3(level: number, pa: number, status: number, walk: TableWalk): void {
    const name = level === 1 ? 'GCR3 entry' : 'GCR3 pointer'
    if (status !== FOUND && status !== NOT_VALID) {
      const why = status === HOST_REFUSED ? 'the host tables refuse this guest physical address' : 'cannot be read'
      this.#nothing(name, status === HOST_REFUSED ? -1 : pa, why)
      return
    }
    const words = walk.entry.slice()
    const next = hex(gcr3Address(words[1]!, words[0]!))
    const valid = level === 1 ? `valid, guest tables at ${next}` : `valid, next table at ${next}`
    this.#structure(name, level === 1 ? GCR3_ENTRY : GCR3_POINTER, pa, words, status === FOUND ? valid : 'not valid: V is 0')
  }

  entry(stage: number, space: PtSpace, depth: number, pa: number, hi: number, lo: number, kind: number, status: number): void {
    const rights = rightsOf(this.walker, stage)
    const decided = status === WALK_OK ? leadsTo(space, depth, hi, lo, kind, rights) : entryText(space, depth, status, lo, rights)
    // Host tables are the second stage, also where there is no first one.
    const host = stage === 2 || space.format.leafRule === LEAF_BY_NEXT_LEVEL
    this.steps.push(entryStep(host ? 2 : 1, space, depth, pa, hi, lo, kind, decided))
  }

  #structure(structure: string, layout: Layout, address: number | null, words: Words, decided: string): void {
    this.steps.push(structureStep(structure, layout, address, words, decided))
  }

  #nothing(structure: string, address: number, decided: string): void {
    this.steps.push(noteStep(structure, decided, address))
  }
}

function deviceText(device: Device): string {
  const { way, words, host, guest, domain, mode } = device
  if (way === WAY_BYPASS) return 'V is 0: everything passes as it is'
  if (way === WAY_ABORT) return 'valid, but TV is 0: what needs a translation is aborted'
  const parts = ['valid', `domain ${domain}`, rightsText(device.allowed)]
  if (host !== null) parts.push(`host tables of ${mode} level${mode === 1 ? '' : 's'} at ${hex(host.root)}`)
  if (guest) parts.push(`GCR3 table of ${dteGlx(words) + 1} level${dteGlx(words) === 0 ? '' : 's'} at ${hex(gcr3Root(words))}`)
  if (way === WAY_GCR3) parts.push('without PASID its entry 0')
  else if (way === WAY_PASS_THROUGH) parts.push('without PASID addresses pass as they are')
  return parts.join(', ')
}
