/** How captures of an SMMUv3 name what they tell about its tables. */
import type { SpaceNode } from '../../inspect/graph.ts'
import { countConfigs } from '../../inspect/smmuv3/stream.ts'
import type { Capture } from '../../node/index.ts'
import type { CheckList } from './contract.ts'
import type { FactNames } from './tables.ts'

const stage = (wanted: 1 | 2) => (space: SpaceNode) => space.stage === wanted && space.format.startsWith('VMSAv8-64')

/** Bytes of the granule, out of the format's name. */
function granule({ format }: SpaceNode): bigint | null {
  const match = /, (\d+) KiB/.exec(format)
  return match === null ? null : BigInt(match[1]!) * 1024n
}

export const SMMUV3_FACTS: FactNames = {
  deviceWords: 'ste',
  pasidWords: 'cd',
  deviceFields: {
    config: 'Config',
    s1cdmax: 'S1CDMax',
    s1fmt: 'S1Fmt',
    s1dss: 'S1DSS',
    cdptr: 'S1ContextPtr',
    vmid: 'S2VMID',
    s2vmid: 'S2VMID',
    s2ttb: 'S2TTB',
    s2t0sz: 'S2T0SZ',
    s2sl0: 'S2SL0',
    s2tg: 'S2TG',
    s2ps: 'S2PS',
  },
  pasidFields: { asid: 'ASID', t0sz: 'T0SZ', t1sz: 'T1SZ', ttb0: 'TTB0', ttb1: 'TTB1', ips: 'IPS', tg0: 'TG0' },
  spaceFields: { vmid: 'S2VMID', t0sz: 'S2T0SZ', sl0: 'S2SL0', ps: 'S2PS', ttb: 'S2TTB', s2ttb: 'S2TTB', vttb: 'S2TTB' },
  space: { granule, root: ({ root }) => root, levels: ({ levels }) => BigInt(levels) },
  formats: { 'vmsav8-64-s1': stage(1), 'vmsav8-64-s2': stage(2) },
  structural: ['spaces'],
}

/** `ste_without_tables`: how many valid STEs have each Config (`config0`: abort, `config4`: bypass). */
export function configList(capture: Capture): CheckList {
  const { title, memory, register, side } = capture
  const entries = Object.entries(side.ste_without_tables).filter(([key]) => /^config[0-7]$/.test(key))
  let counts: ReadonlyMap<number, number> | null = null
  return {
    name: 'ste_without_tables',
    count: entries.length,
    check(index) {
      const [key, expected] = entries[index]!
      counts ??= countConfigs({ title, memory, register })
      const actual = counts.get(Number(key.at(-1))) ?? 0
      if (actual === expected) return null
      const item = `ste_without_tables.${key}`
      return { kind: 'different count', item, expected: `${expected} STEs`, actual: `${actual}`, explain: () => '' }
    },
  }
}
