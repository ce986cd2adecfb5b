/** Process directories: each is read once, whichever device contexts lead to it. RISC-V IOMMU 1.0, "Process-directory-table". */
import { hex } from '../../base/hex.ts'
import { getNumber } from '../../base/layout.ts'
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
import type { Reading } from '../reading.ts'
import { entryView } from '../source.ts'
import { Listing, type Owner, PasidTables, pasidSpaceUse, type Under } from '../tables.ts'
import { eachProcessContext } from './directory.ts'
import { isEmpty } from './empty.ts'

const MODES = ['', 'PD8', 'PD17', 'PD20']

export class ProcessDirectories {
  readonly #reading: Reading<RiscvFeatures>
  readonly #tables: PasidTables

  constructor(reading: Reading<RiscvFeatures>) {
    this.#reading = reading
    this.#tables = new PasidTables(reading.spaces)
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
    const listing = new Listing(this.#reading, place, { pasid: 'process_id', entries: 'PCs' })
    eachProcessContext(this.#reading, dc, under?.space ?? null, listing, (process, address, words, rule) => {
      const pc = words.slice(0, PC_WORDS)
      const node = this.#entry(process, pc, address, rule, dc, owner, under)
      listing.add(rule ?? pc.join(), () => node)
    })
    return listing.done()
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
      this.#reading.findings.add('error', `PC ${process} of ${owner.domain ?? owner.user} at ${hex(address)}`, note, 'bad PC')
      return { pasid: process, state: 'bad', space: null, note, entry }
    }
    const high = pc[PC_FSC + 1]!
    if (modeOf(high) === IOSATP_BARE) {
      const note = `the first stage is Bare: addresses pass ${under === null ? 'as they are' : 'to the second stage'}`
      return { pasid: process, state: 'valid', space: under?.id ?? null, note, entry }
    }
    const sum = (pc[PC_TA]! & PC_SUM) !== 0
    const space = stage1Space(this.#reading.features, dc[DC_TC]!, high, pc[PC_FSC]!, sum, under?.space ?? null)!
    // A page table that is known by name is somebody's, even while nothing is in it.
    const named = this.#reading.names?.spaces?.has(BigInt(space.root)) ?? false
    if (process !== 0 && under === null && !named && isEmpty(this.#reading.memory, space)) {
      const note = `valid, but its table at ${hex(space.root)} is empty: no address leads anywhere`
      return { pasid: process, state: 'quiet', space: null, note, entry }
    }
    const tag = `PSCID ${getNumber(pc, PC.fields['ta.PSCID'])}`
    const use = { pasid: process, pasidName: 'process_id', role: 'unknown', tag, nested: under !== null } as const
    return {
      pasid: process,
      state: 'valid',
      space: this.#reading.spaces.add(space, pasidSpaceUse(use, owner), under?.id ?? null),
      note: null,
      entry,
    }
  }
}
