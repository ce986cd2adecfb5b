/** Process directories: each is read once, whichever device contexts lead to it. RISC-V IOMMU 1.0, "Process-directory-table". */
import { hex } from '../../base/hex.ts'
import { getNumber } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import { stage1Space } from '../../format/riscv/context.ts'
import {
  DC_FSC,
  DC_TC,
  IOSATP_BARE,
  modeOf,
  PC,
  PC_FSC,
  PC_SUM,
  PC_TA,
  PC_WORDS,
  ppnAddress,
  TC_DPE,
  TC_SBE,
  TC_SXL,
} from '../../format/riscv/contexts.ts'
import type { RiscvFeatures } from '../../format/riscv/features.ts'
import { pdtBits, pdtLevels } from '../../format/riscv/lookup.ts'
import type { PasidNode, PasidTableNode } from '../graph.ts'
import { entryView, type Findings } from '../source.ts'
import type { Budget } from '../space.ts'
import type { Spaces } from '../spaces.ts'
import { Alike, type Owner, PasidTables, pasidSpaceUse, SHARE, type Under } from '../tables.ts'
import { eachProcessContext } from './directory.ts'
import { isEmpty } from './empty.ts'

const MODES = ['', 'PD8', 'PD17', 'PD20']

export class ProcessDirectories {
  readonly #memory: WordMemory
  readonly #features: RiscvFeatures
  readonly #spaces: Spaces
  readonly #budget: Budget
  readonly #findings: Findings
  readonly #isNamed: (root: bigint) => boolean
  readonly #tables: PasidTables

  /** @param isNamed whether a page table with this root is known by name: then it is somebody's, even while nothing is in it. */
  constructor(
    memory: WordMemory,
    features: RiscvFeatures,
    spaces: Spaces,
    budget: Budget,
    findings: Findings,
    isNamed: (root: bigint) => boolean,
  ) {
    this.#memory = memory
    this.#features = features
    this.#spaces = spaces
    this.#budget = budget
    this.#findings = findings
    this.#isNamed = isNamed
    this.#tables = new PasidTables(spaces)
  }

  nodes(): PasidTableNode[] {
    return this.#tables.nodes()
  }

  /** The id of the process directory of this device context (a copy of its words). */
  add(dc: Int32Array, owner: Owner, under: Under | null): string {
    const tc = dc[DC_TC]!
    const fscHigh = dc[DC_FSC + 1]!
    const root = ppnAddress(fscHigh, dc[DC_FSC]!)
    const mode = modeOf(fscHigh)
    const withoutPasid = (tc & TC_DPE) !== 0 ? 'entry 0' : 'bypass'
    // What decides how the same bytes are read.
    const key = [root, mode, tc & (TC_DPE | TC_SBE | TC_SXL), under?.id ?? ''].join('|')
    return this.#tables.add(key, owner, (id) => ({
      id,
      address: BigInt(root),
      layout: `${MODES[mode]}, ${pdtLevels(mode) === 1 ? '1 level' : `${pdtLevels(mode)} levels`}`,
      capacity: 2 ** pdtBits(mode),
      withoutPasid,
      over: under?.id ?? null,
      entries: this.#entries(dc, owner, under),
      label: owner.domain,
    }))
  }

  #entries(dc: Int32Array, owner: Owner, under: Under | null): PasidNode[] {
    const place = `process directory of ${owner.domain ?? owner.user}`
    const alike = new Alike()
    const entries: PasidNode[] = []
    const limit = Math.ceil(this.#budget.entries / SHARE)
    const visit = (process: number, address: number, words: Int32Array, rule: string | null) => {
      const pc = words.slice(0, PC_WORDS)
      const node = this.#entry(process, pc, address, rule, dc, owner, under)
      if (alike.admit(rule ?? pc.join())) {
        entries.push(node)
        this.#budget.listed--
      }
      return this.#budget.listed > 0
    }
    const stage2 = under?.space ?? null
    const { complete, lookups, next } = eachProcessContext(
      this.#memory,
      this.#features,
      dc,
      stage2,
      place,
      limit,
      this.#findings,
      visit,
    )
    this.#budget.entries -= lookups
    if (!complete)
      this.#findings.add('warning', place, `entries from process_id ${next} on were not read: too many`, 'incomplete')
    if (alike.left > 0)
      this.#findings.add('note', place, `${alike.left} more PCs that say the same as others are not listed`, 'alike')
    return entries
  }

  #entry(
    process: number,
    pc: Int32Array,
    address: number,
    rule: string | null,
    dc: Int32Array,
    owner: Owner,
    under: Under | null,
  ): PasidNode {
    const entry = entryView(PC, address, pc)
    if (rule !== null) {
      const note = `PDT entry misconfigured (cause 267): ${rule}`
      this.#findings.add('error', `PC ${process} of ${owner.domain ?? owner.user} at ${hex(address)}`, note, 'bad PC')
      return { pasid: process, state: 'bad', space: null, note, entry }
    }
    const high = pc[PC_FSC + 1]!
    if (modeOf(high) === IOSATP_BARE) {
      const note = `the first stage is Bare: addresses pass ${under === null ? 'as they are' : 'to the second stage'}`
      return { pasid: process, state: 'valid', space: under?.id ?? null, note, entry }
    }
    const sum = (pc[PC_TA]! & PC_SUM) !== 0
    const space = stage1Space(this.#features, dc[DC_TC]!, high, pc[PC_FSC]!, sum, under?.space ?? null)!
    if (process !== 0 && under === null && !this.#isNamed(BigInt(space.root)) && isEmpty(this.#memory, space)) {
      const note = `valid, but its table at ${hex(space.root)} is empty: no address leads anywhere`
      return { pasid: process, state: 'quiet', space: null, note, entry }
    }
    const tag = `PSCID ${getNumber(pc, PC.fields['ta.PSCID'])}`
    const use = { pasid: process, pasidName: 'process_id', role: 'unknown', tag, nested: under !== null } as const
    return {
      pasid: process,
      state: 'valid',
      space: this.#spaces.add(space, pasidSpaceUse(use, owner), under?.id ?? null),
      note: null,
      entry,
    }
  }
}
