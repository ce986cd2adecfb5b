/** How captures of an Intel IOMMU name what they tell about its tables. */
import type { SpaceNode } from '../../inspect/graph.ts'
import type { FactNames } from './tables.ts'

const stage = (name: string) => (space: SpaceNode) => space.format === name

export const VTD_FACTS: FactNames = {
  deviceWords: 'ce',
  pasidWords: 'pe',
  deviceFields: {
    pdts: 'PDTS',
    pasid_dir: 'PASIDDIRPTR',
    rid_pasid: 'RID_PASID',
    dte: 'DTE',
    paside: 'PASIDE',
    pre: 'PRE',
  },
  pasidFields: { pgtt: 'PGTT', did: 'DID' },
  spaceFields: { tt: 'TT', did: 'DID' },
  space: { root: ({ root }) => root, levels: ({ levels }) => BigInt(levels) },
  formats: { 'vtd-fs': stage('VT-d first stage'), 'vtd-ss': stage('VT-d second stage') },
  structural: [],
}
