import '@mantine/core/styles.css'
import './app/global.css'

import { createRoot } from 'react-dom/client'
import { App } from './app/App'
import { makeQueryClient } from './app/queryClient'
import { makeRouter } from './app/router'
import { loadKey } from './auth/key'

const root = document.getElementById('root')
if (root === null) throw new Error('index.html has no #root')
loadKey()
createRoot(root).render(<App client={makeQueryClient()} router={makeRouter()} />)
