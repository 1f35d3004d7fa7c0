-- Events by day
-- How many events of each feed and account, by day: is anything missing?
-- Window: 7 days, today included
-- Opens: 21 feed-days
SELECT
  event_date,
  feed,
  account,
  count(*) AS events,
  min(event_time) AS first_time,
  max(event_time) AS last_time
FROM activity
WHERE event_date BETWEEN date_format(current_date - INTERVAL '6' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
GROUP BY 1, 2, 3
ORDER BY event_date, feed, account;
