#!lua flags=allow-oom
-- trim | keys: jobs live errors results reports succeeded dead cancelled meta calls answers asks locks lapses events | edges: succeeded->gone dead->gone cancelled->gone
--
-- Deletes ended jobs that are over their age or count, for queues in which nothing is settled, what
-- is kept of calls that nobody sends again, and locks whose time is over.
-- ARGV: now, most (at most 100), keep of succeeded, dead, cancelled
-- Reply: how many were deleted

local MOST_EVENTS = 67108864 -- bytes kept for who listens and does not come

local now = clock(ARGV[1])
forget_calls(calls, answers, now)
shorten(MOST_EVENTS)
drop_lapsed(now, 100)
local budget = tonumber(ARGV[2])
local deleted = 0
for i, set in ipairs({ succeeded, dead, cancelled }) do
  local ids = trimmable(set, live, now, tonumber(ARGV[i + 2]), budget - deleted)
  deleted = deleted + forget(ids, set, jobs, live, errors, results, meta, asks, reports)
  if deleted >= budget then break end
end
return deleted
